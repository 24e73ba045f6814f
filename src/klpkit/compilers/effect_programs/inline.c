// A static function is inlined.
// observe: user
#ifdef CHANGED
static int body(int x) { return x * 5; }
#else
static int body(int x) { return x * 3; }
#endif
int user(int x) { return body(x) + 1; }
int other(int x) { return body(x) + 2; }
