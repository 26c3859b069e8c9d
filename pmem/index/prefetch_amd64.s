#include "textflag.h"

// func prefetch(p unsafe.Pointer)
// PREFETCHT0: Intel SDM volume 2, "PREFETCHh". It never faults.
TEXT ·prefetch(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	RET
