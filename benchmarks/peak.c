/* What one core can do in int8: prints multiply-adds a second of AVX512-VNNI's instruction, which
 * does 64 of them, in a loop of nothing else. It adds to twelve sums in turn, because the next one
 * to the same sum has to wait for the last. */
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 20, LOOPS = 20000000, SUMS = 12, MULTIPLY_ADDS = 64 };

#define ADD(sum) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #sum "\n"

int main(void) {
  double best = 0;
  /* Bytes of ones: to multiply zeros takes less power. */
  __asm__ volatile("vpternlogd $255, %%zmm30, %%zmm30, %%zmm30\n"
                   "vpternlogd $255, %%zmm31, %%zmm31, %%zmm31\n" ::: "xmm30", "xmm31");
  for (int round = 0; round < ROUNDS; ++round) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < LOOPS; ++i)
      __asm__ volatile(ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7) ADD(8) ADD(9)
                       ADD(10) ADD(11) ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = end.tv_sec - start.tv_sec + 1e-9 * (end.tv_nsec - start.tv_nsec);
    double rate = (double)LOOPS * SUMS * MULTIPLY_ADDS / seconds;
    if (rate > best) best = rate;
  }
  printf("%.0f\n", best);
  return 0;
}
