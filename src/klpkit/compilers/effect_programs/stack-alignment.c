// A caller does not align the stack for a callee that needs no alignment.
// observe: user
extern void sink(void *);
__attribute__((noinline)) static int body(int x)
{
#ifdef CHANGED
  _Alignas(16) char room[16];
  __asm__ volatile("" :: "r"(room) : "memory");
#else
  __asm__ volatile("");
#endif
  return x + 1;
}
int user(int x) { return body(x) + 1; }
