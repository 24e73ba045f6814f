// The front end evaluates a constexpr function at a call with constant arguments.
// observe: _Z4userv
extern int probe(int);
#ifdef CHANGED
__attribute__((noinline)) constexpr int body(int x) { return x == 7 ? x * x + 1 : probe(x); }
#else
__attribute__((noinline)) constexpr int body(int x) { return x == 7 ? x * x : probe(x); }
#endif
int user(void) { return body(7); }
