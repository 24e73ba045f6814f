// A caller keeps a value over a call that does not store to where it came from.
// observe: user
struct pair { int a; long b; };
__attribute__((noinline)) void body(struct pair *p, int x)
{
#ifdef CHANGED
  p->b = x;
#endif
  p->a = x;
}
long user(struct pair *p, int x) { p->b = 5; body(p, x); return p->b; }
