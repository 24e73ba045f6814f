// A function relies on the low bits of an argument that all its callers pass.
// observe: user
extern int sink(int);
__attribute__((noinline)) static int user(unsigned x) { return (x & 3) ? sink(1) : sink(2); }
int other(unsigned y) { return user(y * 8) + 1; }
#ifdef CHANGED
int body(unsigned y) { return user(y) + 2; }
#else
int body(unsigned y) { return user(y * 4) + 2; }
#endif
