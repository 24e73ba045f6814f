// Vectorising a loop raises the alignment of a static variable, and others rely on it.
// observe: user
// flags: -O3
static char table[4096] __attribute__((aligned(1)));
#ifdef CHANGED
void body(char *p) { for (int i = 0; i < 4096; i++) p[i] = 1; }
#else
void body(char *p) { for (int i = 0; i < 4096; i++) table[i] += 1; }
#endif
unsigned long user(void) { return (unsigned long)table & 15; }
void other(int i) { table[i] = 3; }
