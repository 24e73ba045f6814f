// A parameter that points to a structure becomes the member that is used.
// observe: user
struct pair { int a, b; };
extern int probe(int);
struct pair *leak;
__attribute__((noinline)) static int body(struct pair *p)
{
#ifdef CHANGED
  leak = p;
#endif
  return probe(p->a) + 1;
}
int user(struct pair *p) { return body(p) + p->b; }
