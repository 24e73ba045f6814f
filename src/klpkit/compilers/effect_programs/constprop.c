// A copy of a function is made for a constant argument.
// observe: user
extern int probe(int, int);
__attribute__((noinline)) static int user(int x, int y) { return y > 2 ? probe(x, y) : probe(y, x); }
int other(int x) { return user(x, 3) + 1; }
#ifdef CHANGED
int body(int x) { return user(x, x) + 2; }
#else
int body(int x) { return user(x, 3) + 2; }
#endif
