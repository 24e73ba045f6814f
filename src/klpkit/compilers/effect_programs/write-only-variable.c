// Stores to a static variable that no function reads are removed.
// observe: user
static int state;
void user(int x) { state = x; }
#ifdef CHANGED
int body(void) { return state; }
#else
int body(void) { return 0; }
#endif
