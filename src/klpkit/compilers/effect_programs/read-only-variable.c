// A static variable that no function writes is replaced by its initial value.
// observe: user
static int state;
int user(void) { return state; }
#ifdef CHANGED
void body(void) { state = 3; }
#else
void body(void) { }
#endif
