// A function that is called only from cold code is put with the cold code.
// observe: user
// section: yes
extern int probe(int);
extern void fatal(void) __attribute__((cold));
__attribute__((noinline)) static int user(int x) { int i, t = 0; for (i = 0; i < x; i++) t += probe(i) / 7; return t; }
__attribute__((cold)) int other(int x) { return user(x + 1); }
#ifdef CHANGED
int body(int x) { return user(x); }
#else
int body(int x) { return x; }
#endif
