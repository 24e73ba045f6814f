// A caller keeps a static variable in a register over a call that does not write it.
// observe: user
extern int input;
static int state;
void set(int x) { state = x; }
int get(void) { return state; }
int other;
__attribute__((noinline)) void body(int x)
{
#ifdef CHANGED
  state = x;
#endif
  other = input + x;
}
int user(int x) { int a = state; body(x); return a + state; }
