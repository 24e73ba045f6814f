// Two functions of equal code become one.
// observe: user
extern int probe(int);
#ifdef CHANGED
int body(int x) { return probe(x * 3) + 4 + probe(x * 5) + probe(x * 7) + probe(x * 9) + probe(x * 11); }
#else
int body(int x) { return probe(x * 3) + 5 + probe(x * 5) + probe(x * 7) + probe(x * 9) + probe(x * 11); }
#endif
int user(int x) { return probe(x * 3) + 5 + probe(x * 5) + probe(x * 7) + probe(x * 9) + probe(x * 11); }
