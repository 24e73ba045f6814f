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

/* ---- Callbacks: what is to happen when the patch goes into an object, or comes out of it. ---- */

/*
 * static int limit_pre_patch(struct klp_object *object) { ... return 0; }
 * KLPKIT_PRE_PATCH(vmlinux, limit_pre_patch);
 *
 * In the patched source, outside of functions; `klpkit build` finds them there.  The object is vmlinux, or a module
 * spelled with underscores, and has at most one callback of each kind.  What the patch must remember for each
 * instance of a structure, which can't grow, belongs into a shadow variable: klp_shadow_get_or_alloc(),
 * klp_shadow_get(), klp_shadow_free_all().
 */
#define KLPKIT_CALLBACK(returns, member, object, function) \
	static returns (*const klpkit_##member##_##object)(struct klp_object *) \
		__attribute__((__used__, __section__(".klp.callbacks." #member "." #object))) = function

/* Before the object is patched; an error keeps the patch, or the module, from loading. */
#define KLPKIT_PRE_PATCH(object, function) \
	KLPKIT_CALLBACK(int, pre_patch, object, function)
/* After the last task has come over to the patched functions. */
#define KLPKIT_POST_PATCH(object, function) \
	KLPKIT_CALLBACK(void, post_patch, object, function)
/* Before the object's functions are taken out. */
#define KLPKIT_PRE_UNPATCH(object, function) \
	KLPKIT_CALLBACK(void, pre_unpatch, object, function)
/* After the last task has gone back to the original functions. */
#define KLPKIT_POST_UNPATCH(object, function) \
	KLPKIT_CALLBACK(void, post_unpatch, object, function)

/* ---- States: what the callbacks leave in the system, for patches that replace this one. ---- */

/*
 * KLPKIT_STATE(id, version), numbers: klp_get_state() and klp_get_prev_state() find it.  A patch that replaces this
 * one must know the state in this version or a later one.
 */
#define KLPKIT_STATE(id, version) \
	static const unsigned long long klpkit_state_##id[2] \
		__attribute__((__used__, __section__(".klp.callbacks.state." #id))) = { id, version }

#endif /* KLPKIT_H */
