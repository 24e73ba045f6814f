// A caller does not pass an argument that the callee does not use.
// observe: user
extern int probe(int);
__attribute__((noinline)) static int body(int x, int unused)
{
#ifdef CHANGED
  return probe(x + unused);
#else
  return probe(x) + 1;
#endif
}
int user(int x) { return body(x, x * 77) + 2; }
int other(int x) { return body(x, x * 99) + 3; }
