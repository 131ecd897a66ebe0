/* One file of kernels as host C++; UNIT names it. */
#include UNIT
