// A static function that nothing calls is not in the object.
// observe: user
extern int probe(int);
__attribute__((noinline)) static int user(int x) { return probe(x) + 1; }
#ifdef CHANGED
int body(int x) { return user(x); }
#else
int body(int x) { return x; }
#endif
