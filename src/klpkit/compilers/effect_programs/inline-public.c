// A function that other TUs can call is inlined.
// observe: user
#ifdef CHANGED
int body(int x) { return x * 5; }
#else
int body(int x) { return x * 3; }
#endif
int user(int x) { return body(x) + 1; }
