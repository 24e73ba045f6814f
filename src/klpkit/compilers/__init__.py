"""GCC and Clang in one vocabulary: levels, flags, and the compiler driver."""
