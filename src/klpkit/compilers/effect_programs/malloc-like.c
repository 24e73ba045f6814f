// A function that returns fresh memory is found to do so, and its result to alias nothing.
// observe: user
extern void *get(unsigned long) __attribute__((malloc));
int *saved;
__attribute__((noinline)) int *body(int n)
{
  int *p = get(n);
#ifdef CHANGED
  saved = p;
#endif
  return p;
}
int user(int *q, int n) { int *p = body(n); *q = 7; *p = 1; return *q; }
