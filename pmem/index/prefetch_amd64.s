#include "textflag.h"

// func prefetch(p unsafe.Pointer)
// PREFETCHT0: Intel SDM volume 2, "PREFETCHh". It never faults.
TEXT ·prefetch(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	RET

// func prefetchLines(p unsafe.Pointer, lines int)
// At least one line.
TEXT ·prefetchLines(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ lines+8(FP), CX
more:
	PREFETCHT0 (AX)
	ADDQ $64, AX
	DECQ CX
	JNZ more
	RET
