// A static function that is only called directly takes its arguments in registers.
// observe: user
// flags: -m32
int (*hook)(int, int);
extern int probe(int);
__attribute__((noinline)) static int user(int x, int y) { return probe(x) + y; }
int caller(int x) { return user(x, 3 * x) * 2; }
#ifdef CHANGED
void body(void) { hook = user; }
#else
void body(void) { hook = 0; }
#endif
