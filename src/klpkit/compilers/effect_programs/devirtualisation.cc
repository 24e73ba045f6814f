// A virtual call becomes a direct one because only one class is ever made.
// observe: user
extern int probe(int);
namespace {
struct Base { virtual int act(int x) { return probe(x); } };
struct Derived : Base { int act(int x) override { return probe(x) + 2; } };
}
Base *volatile slot;
extern "C" __attribute__((noinline)) void *body(int x)
{
#ifdef CHANGED
 if (x) return new Derived;
#endif
 return new Base;
}
extern "C" int user(int x) { return static_cast<Base *>(body(x))->act(x); }
