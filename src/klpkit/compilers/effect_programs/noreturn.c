// Code behind a call of a function that never returns is removed.
// observe: user
extern void sink(int);
extern int ext(int);
extern int stop(void);
__attribute__((noinline)) void body(int x)
{
#ifdef CHANGED
  if (stop()) return;
#endif
  for (;;) sink(x);
}
int user(int x) { if (x > 3) body(x); return ext(x) + 1; }
