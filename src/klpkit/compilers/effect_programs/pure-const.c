// Two calls of a function without side effects become one.
// observe: user
int counter;
__attribute__((noinline)) int body(int x)
{
#ifdef CHANGED
  counter++;
#endif
  return x * 3 + 1;
}
int user(int x) { return body(x) + body(x); }
