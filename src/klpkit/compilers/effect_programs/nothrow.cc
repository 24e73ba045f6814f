// A caller has no cleanup code for a callee that is found not to throw.
// observe: _Z4useri
// flags: -fexceptions
struct Guard { Guard(); ~Guard(); };
extern void (*callback)();
__attribute__((noinline)) int body(int x)
{
#ifdef CHANGED
  callback();
#endif
  __asm__ volatile("");
  return x + 1;
}
int user(int x) { Guard g; return body(x); }
