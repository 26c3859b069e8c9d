package pmem

// The flush instruction is chosen once, by CPUID: CLWB keeps the line in the
// cache, CLFLUSHOPT throws it out, CLFLUSH also serialises with other flushes.
// All three are complete only after an SFENCE.

//go:noescape
func clwbLines(p *byte, lines int)

//go:noescape
func clflushoptLines(p *byte, lines int)

//go:noescape
func clflushLines(p *byte, lines int)

func storeFence()

func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

type flushKind uint8

const (
	flushNone flushKind = iota
	flushCLFLUSH
	flushCLFLUSHOPT
	flushCLWB
)

// lineBytes is the flush granularity. Every amd64 processor with CLFLUSHOPT
// or CLWB reports 64 in CPUID leaf 1; detectFlush refuses any other.
const lineBytes = 64

var cpuFlush = detectFlush()

func detectFlush() flushKind {
	maxLeaf, _, _, _ := cpuid(0, 0)
	_, ebx1, _, edx1 := cpuid(1, 0)
	const clflush = 1 << 19 // CPUID.1:EDX
	if edx1&clflush == 0 || (ebx1>>8&0xff)*8 != lineBytes {
		return flushNone
	}
	if maxLeaf < 7 {
		return flushCLFLUSH
	}
	_, ebx7, _, _ := cpuid(7, 0)
	const clflushopt, clwb = 1 << 23, 1 << 24 // CPUID.7.0:EBX
	switch {
	case ebx7&clwb != 0:
		return flushCLWB
	case ebx7&clflushopt != 0:
		return flushCLFLUSHOPT
	}
	return flushCLFLUSH
}

// FlushInstruction names the cache-line flush that the dax domain uses on
// this processor, "" where there is none.
func FlushInstruction() string {
	return [...]string{"", "CLFLUSH", "CLFLUSHOPT", "CLWB"}[cpuFlush]
}

// flushLines starts write-back of the lines from the one that holds b[0].
// b[0] lies on a line boundary; the caller rounds.
func flushLines(b []byte) {
	if len(b) == 0 {
		return
	}
	lines := (len(b) + lineBytes - 1) / lineBytes
	switch cpuFlush {
	case flushCLWB:
		clwbLines(&b[0], lines)
	case flushCLFLUSHOPT:
		clflushoptLines(&b[0], lines)
	case flushCLFLUSH:
		clflushLines(&b[0], lines)
	}
}

// flushDrain waits until the lines flushed before have been accepted by the
// memory controller, which is inside the power-fail domain.
func flushDrain() { storeFence() }
