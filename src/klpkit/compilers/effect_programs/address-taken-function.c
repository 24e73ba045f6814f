// A static function has no landing pad (endbr64, bti) unless its address is taken somewhere in its TU.
// observe: target
// flags: -fcf-protection=branch
int (*hook)(int);
extern int probe(int);
__attribute__((noinline)) static int target(int x) { return probe(x) + 1; }
int user(int x) { return target(x) * 2; }
#ifdef CHANGED
void body(void) { hook = target; }
#else
void body(void) { hook = 0; }
#endif
