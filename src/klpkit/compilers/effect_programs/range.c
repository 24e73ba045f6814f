// A function relies on the range of an argument that all its callers pass.
// observe: user
extern int sink(int);
__attribute__((noinline)) static int user(int x) { return x < 6 ? sink(x) : sink(2); }
int other(int y) { return user(y != 0) + 1; }
#ifdef CHANGED
int body(int y) { return user(y) + 2; }
#else
int body(int y) { return user(y > 4 || y < 0 ? 4 : y) + 2; }
#endif
