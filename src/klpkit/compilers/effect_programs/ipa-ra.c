// A caller keeps a value in a call-clobbered register that the callee leaves alone.
// observe: user
__attribute__((noinline)) static int body(int x)
{
#ifdef CHANGED
  __asm__ volatile("" ::: "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "rdx");
#else
  __asm__ volatile("");
#endif
  return x + 1;
}
int user(int x, int y, int z) { int a = body(x); return a + y + z; }
