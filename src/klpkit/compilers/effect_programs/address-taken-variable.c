// A store through a pointer is assumed to miss a static variable whose address no function of the TU takes.
// observe: user
static int state;
int *leak;
int user(int *p) { state = 1; *p = 2; return state; }
int reads(void) { return state; }
#ifdef CHANGED
void body(void) { leak = &state; }
#else
void body(void) { leak = 0; state = 5; }
#endif
