//go:build !race

#include "textflag.h"

// CRC32: Intel SDM volume 2, "CRC32"; three at a time are under way, each takes three
// cycles. PCLMULQDQ: the same, "PCLMULQDQ". What the folding factors are: foldOf.

// func sumBytes(crc uint32, p *byte, n, lane int, fold *[2]uint64) uint32
TEXT ·sumBytes(SB), NOSPLIT, $0-44
	MOVL crc+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ lane+24(FP), R8
	TESTQ R8, R8
	JZ rest
	MOVQ fold+32(FP), R9
	SHLQ $3, R8
	LEAQ (SI)(R8*1), R10
	LEAQ (SI)(R8*2), R11
	XORL BX, BX
	XORL DX, DX
	XORL DI, DI
	SUBQ R8, CX
	SUBQ R8, CX
	SUBQ R8, CX
	SUBQ $8, R8
lanes:
	CRC32Q (SI)(DI*1), AX
	CRC32Q (R10)(DI*1), BX
	CRC32Q (R11)(DI*1), DX
	ADDQ $8, DI
	CMPQ DI, R8
	JLT lanes
	// The last word of each; the third lane's takes the other two lanes in.
	CRC32Q (SI)(DI*1), AX
	CRC32Q (R10)(DI*1), BX
	MOVQ AX, X0
	MOVQ BX, X1
	MOVOU (R9), X2
	PCLMULQDQ $0x00, X2, X0
	PCLMULQDQ $0x10, X2, X1
	PXOR X1, X0
	MOVQ X0, R12
	XORQ (R11)(DI*1), R12
	CRC32Q R12, DX
	MOVL DX, AX
	LEAQ 8(R11)(DI*1), SI
rest:
	CMPQ CX, $8
	JLT less
words:
	CRC32Q (SI), AX
	ADDQ $8, SI
	SUBQ $8, CX
	CMPQ CX, $8
	JGE words
less:
	BTQ $2, CX
	JNC less4
	CRC32L (SI), AX
	ADDQ $4, SI
less4:
	BTQ $1, CX
	JNC less2
	CRC32W (SI), AX
	ADDQ $2, SI
less2:
	BTQ $0, CX
	JNC done
	CRC32B (SI), AX
done:
	MOVL AX, ret+40(FP)
	RET

// func copyBytes(crc uint32, dst, p *byte, n, lane int, fold *[2]uint64) uint32
//
// sumBytes of what it stores: each byte is loaded once.
TEXT ·copyBytes(SB), NOSPLIT, $0-52
	MOVL crc+0(FP), AX
	MOVQ dst+8(FP), R13
	MOVQ p+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ lane+32(FP), R8
	SUBQ SI, R13 // a place of dst is one of p and this
	TESTQ R8, R8
	JZ rest
	MOVQ fold+40(FP), R9
	SHLQ $3, R8
	LEAQ (SI)(R8*1), R10
	LEAQ (SI)(R8*2), R11
	XORL BX, BX
	XORL DX, DX
	SUBQ R8, CX
	SUBQ R8, CX
	SUBQ R8, CX
	LEAQ -8(R10), R8 // the last word of the first lane
lanes:
	MOVQ (SI), R12
	CRC32Q R12, AX
	MOVQ R12, (SI)(R13*1)
	MOVQ (R10), R12
	CRC32Q R12, BX
	MOVQ R12, (R10)(R13*1)
	MOVQ (R11), R12
	CRC32Q R12, DX
	MOVQ R12, (R11)(R13*1)
	ADDQ $8, SI
	ADDQ $8, R10
	ADDQ $8, R11
	CMPQ SI, R8
	JLT lanes
	MOVQ (SI), R12
	CRC32Q R12, AX
	MOVQ R12, (SI)(R13*1)
	MOVQ (R10), R12
	CRC32Q R12, BX
	MOVQ R12, (R10)(R13*1)
	MOVQ AX, X0
	MOVQ BX, X1
	MOVOU (R9), X2
	PCLMULQDQ $0x00, X2, X0
	PCLMULQDQ $0x10, X2, X1
	PXOR X1, X0
	MOVQ (R11), R12
	MOVQ R12, (R11)(R13*1)
	MOVQ X0, DI
	XORQ DI, R12
	CRC32Q R12, DX
	MOVL DX, AX
	LEAQ 8(R11), SI
rest:
	CMPQ CX, $8
	JLT less
words:
	MOVQ (SI), R12
	CRC32Q R12, AX
	MOVQ R12, (SI)(R13*1)
	ADDQ $8, SI
	SUBQ $8, CX
	CMPQ CX, $8
	JGE words
less:
	BTQ $2, CX
	JNC less4
	MOVL (SI), R12
	CRC32L R12, AX
	MOVL R12, (SI)(R13*1)
	ADDQ $4, SI
less4:
	BTQ $1, CX
	JNC less2
	MOVW (SI), R12
	CRC32W R12, AX
	MOVW R12, (SI)(R13*1)
	ADDQ $2, SI
less2:
	BTQ $0, CX
	JNC done
	MOVB (SI), R12
	CRC32B R12, AX
	MOVB R12, (SI)(R13*1)
done:
	MOVL AX, ret+48(FP)
	RET

// func sumHeader(crc uint32, p *byte) uint32
TEXT ·sumHeader(SB), NOSPLIT, $0-20
	MOVL crc+0(FP), AX
	MOVQ p+8(FP), SI
	CRC32L 4(SI), AX
	CRC32Q 8(SI), AX
	CRC32Q 16(SI), AX
	CRC32Q 24(SI), AX
	CRC32Q 32(SI), AX
	CRC32Q 40(SI), AX
	CRC32Q 48(SI), AX
	CRC32Q 56(SI), AX
	MOVL AX, ret+16(FP)
	RET

// func features() (ecx uint32)
// CPUID leaf 1.
TEXT ·features(SB), NOSPLIT, $0-4
	MOVL $1, AX
	XORL CX, CX
	CPUID
	MOVL CX, ecx+0(FP)
	RET

// func copyForward(dst, p *byte, n int)
TEXT ·copyForward(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	CMPQ CX, $16
	JLT less16
sixteen:
	MOVOU (SI), X0
	MOVOU X0, (DI)
	ADDQ $16, SI
	ADDQ $16, DI
	SUBQ $16, CX
	CMPQ CX, $16
	JGE sixteen
less16:
	BTQ $3, CX
	JNC less8
	MOVQ (SI), AX
	MOVQ AX, (DI)
	ADDQ $8, SI
	ADDQ $8, DI
less8:
	BTQ $2, CX
	JNC less4
	MOVL (SI), AX
	MOVL AX, (DI)
	ADDQ $4, SI
	ADDQ $4, DI
less4:
	BTQ $1, CX
	JNC less2
	MOVW (SI), AX
	MOVW AX, (DI)
	ADDQ $2, SI
	ADDQ $2, DI
less2:
	BTQ $0, CX
	JNC done
	MOVB (SI), AX
	MOVB AX, (DI)
done:
	RET
