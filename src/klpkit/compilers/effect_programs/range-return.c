// A caller relies on the range of values that a function returns.
// observe: user
extern int probe(void);
extern void sink(int);
__attribute__((noinline)) int body(void)
{
  int x = probe();
#ifdef CHANGED
  return x;
#else
  return x & 3;
#endif
}
void user(void) { if (body() > 10) sink(1); else sink(2);}
