// The head of a function is inlined and the rest becomes a part.
// observe: user
extern int probe(int);
extern int table[100];
int body(int *p)
{
#ifdef CHANGED
  if (!p) return 6;
#else
  if (!p) return 5;
#endif
  int t = 0;
  for (int i = 0; i < 100; i++) t += probe(table[i] * *p) ^ probe(i) * probe(t);
  for (int i = 0; i < 100; i++) t += probe(table[i] + *p) ^ probe(i) * probe(t);
  return t;
}
int user(int *p) { return body(p) + 1; }
int other(int *p) { return body(p) + 2; }
