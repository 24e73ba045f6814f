"""Numbers of the ELF format that klpkit uses, under their names in the specification.

System V ABI, edition 4.1 and the generic ABI drafts after it (compression, extended numbering).  Plain
integers: they are compared with whole columns at a time, and importing them costs nothing.
"""

from __future__ import annotations

ELF_MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2

ET_REL, ET_EXEC, ET_DYN = 1, 2, 3

EM_PPC64, EM_S390, EM_X86_64, EM_AARCH64, EM_LOONGARCH = 21, 22, 62, 183, 258

SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF
# Linux, include/uapi/linux/elf.h: what its module loader leaves to live patching.
SHN_LIVEPATCH = 0xFF20

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 0, 1, 2, 3, 4
SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM, SHT_GROUP, SHT_SYMTAB_SHNDX = 7, 8, 9, 11, 17, 18
SHT_LLVM_ADDRSIG = 0x6FFF4C03

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS = 0x1, 0x2, 0x4, 0x10, 0x20
SHF_INFO_LINK, SHF_LINK_ORDER, SHF_GROUP, SHF_TLS, SHF_COMPRESSED = 0x40, 0x80, 0x200, 0x400, 0x800
SHF_RELA_LIVEPATCH = 0x100000

ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD = 1, 2

STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_GNU_IFUNC = 0, 1, 2, 3, 4, 10
STV_DEFAULT, STV_HIDDEN = 0, 2

GRP_COMDAT = 1

# What `SymbolTable.section` holds for a symbol that is in no section (the 16-bit number, sign extended): a
# real section numbered 0xFFF1 stays apart from SHN_ABS.
SECTION_ABS, SECTION_COMMON = SHN_ABS - 0x10000, SHN_COMMON - 0x10000
