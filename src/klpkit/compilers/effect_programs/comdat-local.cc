// A static function is moved into the COMDAT group of the only function that calls it.
// observe: _ZL4useri
// section: yes
extern int probe(int);
__attribute__((noinline)) static int user(int x) { return probe(x) + 1; }
inline int shared(int x) { return user(x) + user(x + 1); }
int (*hook)(int) = shared;
#ifdef CHANGED
int body(int x) { return user(x); }
#else
int body(int x) { return x; }
#endif
