/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * klpkit.h - macros for authors of live patches.
 *
 * Nothing here needs more than a kernel with CONFIG_LIVEPATCH; each section says what it relies on.
 */
#ifndef KLPKIT_H
#define KLPKIT_H

#include <linux/livepatch.h>

/* ---- References to what the kernel does not export: `klpkit convert` makes klp relocations of them. ---- */

/*
 * KLPKIT_RELOC(patched, object, symbol, position);
 * KLPKIT_RELOC_AS(name, patched, object, symbol, position);
 *
 * After a declaration and outside of functions: `symbol` of `object` (vmlinux, or a module spelled with underscores)
 * is resolved when `patched`, the livepatched object, is loaded.  `position` counts from 1 among the symbols of
 * this name in `object`, and is 0 where there is but one.  With _AS the C name is another one, which compilers'
 * names need: KLPKIT_RELOC_AS(try_one, vmlinux, vmlinux, try_one.isra.0, 0);
 *
 * A kernel whose build converts references itself gets them in the form that it reads.
 */
#define KLPKIT_RELOC(patched, object, symbol, position) \
	KLPKIT_RELOC_AS(symbol, patched, object, symbol, position)

#if !defined(KLP_RELOC_SYMBOL_POS) && defined(KLP_MODULE_RELOC) && defined(KLP_SYMPOS)

#define KLPKIT_RELOC_AS(name, patched, object, symbol, position) \
	extern typeof(name) name asm(#symbol); \
	static KLP_MODULE_RELOC(object) klpkit_reloc_##name[] \
		__attribute__((__used__)) = { KLP_SYMPOS(name, position) }

#else

/* GCC passes the name on as it is, and an assembler takes a comma only between quotes; Clang adds them itself. */
#ifdef __clang__
#define KLPKIT_QUOTE ""
#else
#define KLPKIT_QUOTE "\""
#endif

#define KLPKIT_RELOC_AS(name, patched, object, symbol, position) \
	extern typeof(name) name asm(KLPKIT_QUOTE \
		".klp.sym.rela." #patched "." #object "." #symbol "," #position KLPKIT_QUOTE)

#endif

#endif /* KLPKIT_H */
