package interference

import (
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Offsets in the state of a watched thread, the value of the map "threads".
const (
	stateOnSince  = 0  // since when it runs, 0: it does not
	stateOffSince = 8  // since when it does not
	stateReady    = 16 // readyTaken, readyGave, or 0: it waits for something
	stateRan      = 24 // ns, without the present run
	stateWoken    = 32 // when it was woken and did not run yet, 0: no
	stateByTID    = 40 // uint32: who got the core
	stateByPID    = 44 // uint32: of which process
	stateByName   = 48 // 16 bytes
	stateGave     = 64 // ns it was off its core though ready, by sched_yield
	stateWakes    = 72 // counts of latencies, one word per bucket
	stateBytes    = stateWakes + 8*wakeBuckets
)

// Ways to be off a core though ready.
const (
	readyTaken = 1 // it was taken off
	readyGave  = 2 // it gave way (sched_yield): it had found nothing to do
)

// Offsets in an event of the ring: one preemption, at its end.
const (
	eventTID   = 0
	eventByTID = 4
	eventByPID = 8
	eventSince = 16
	eventNanos = 24
	eventName  = 32
	eventBytes = 48

	nameBytes = 16 // TASK_COMM_LEN
	ringBytes = 4 << 20
)

// wakeBounds are the upper bounds of the buckets but the last, in units of 64
// ns: half a microsecond to two seconds, each 19 % above the one before.
var wakeBounds = func() (b [wakeBuckets - 1]int32) {
	for i := range b {
		b[i] = int32(math.Round(8 * math.Pow(2, float64(i)/4)))
	}
	return b
}()

const (
	wakeBuckets = 89
	wakeUnit    = 64 // ns
)

// bucketNanos is the upper bound of a bucket; the last one's is a minute.
func bucketNanos(i int) int64 {
	if i == wakeBuckets-1 {
		return 60_000_000_000
	}
	return int64(wakeBounds[i]) * wakeUnit
}

// taskOffsets are those of the fields of the kernel's task_struct, and of the
// system call's number in its pt_regs.
type taskOffsets struct{ tid, pid, name, call int16 }

func kernelOffsets() (o taskOffsets, err error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return o, fmt.Errorf("the kernel's type information: %w", err)
	}
	var task *btf.Struct
	if err := spec.TypeByName("task_struct", &task); err != nil {
		return o, fmt.Errorf("the kernel's type information: %w", err)
	}
	for name, to := range map[string]*int16{"pid": &o.tid, "tgid": &o.pid, "comm": &o.name} {
		for _, m := range task.Members {
			if m.Name == name && m.Offset.Bytes() < 1<<15 {
				*to = int16(m.Offset.Bytes())
			}
		}
		if *to == 0 {
			return o, fmt.Errorf("the kernel's task_struct has no field %q where it is looked for", name)
		}
	}
	var regs *btf.Struct
	if err := spec.TypeByName("pt_regs", &regs); err != nil {
		return o, fmt.Errorf("the kernel's type information: %w", err)
	}
	for _, m := range regs.Members {
		if m.Name == "orig_ax" || m.Name == "syscallno" { // amd64; arm64
			o.call = int16(m.Offset.Bytes())
		}
	}
	if o.call == 0 {
		return o, errors.New("the kernel's pt_regs do not say where the number of a system call is")
	}
	return o, nil
}

// Stack of the programs, below the frame pointer.
const (
	stackTID   = -8
	stackEvent = -8 - eventBytes
	stackName  = stackEvent + eventName
)

// onSwitch is sched_switch(preempt, prev, next, prev_state). Registers: R6 the
// arguments, R7 prev, R8 next, R9 the time.
func onSwitch(o taskOffsets, threads, ring *ebpf.Map) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, 8, asm.DWord),
		asm.LoadMem(asm.R8, asm.R6, 16, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R9, asm.R0),
	}
	p = append(p, lookup(asm.R7, o, threads)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "next"),
		// What it ran goes to its account.
		asm.LoadMem(asm.R1, asm.R0, stateOnSince, asm.DWord),
		asm.JEq.Imm(asm.R1, 0, "left"),
		asm.LoadMem(asm.R2, asm.R0, stateRan, asm.DWord),
		asm.Add.Reg(asm.R2, asm.R9),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.StoreMem(asm.R0, stateRan, asm.R2, asm.DWord),
		setWord(asm.R0, stateOnSince, 0).WithSymbol("left"),
		asm.StoreMem(asm.R0, stateOffSince, asm.R9, asm.DWord),
		setWord(asm.R0, stateReady, 0),
		// Ready: preempted, or still in the state "running".
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
		asm.And.Imm(asm.R1, 1),
		asm.JNE.Imm(asm.R1, 0, "taken off"),
		asm.LoadMem(asm.R1, asm.R6, 24, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "next"),
		// In sched_yield it gave way by itself: the registers with which it
		// entered the kernel say so.
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnTaskPtRegs.Call(),
		asm.LoadMem(asm.R1, asm.R0, o.call, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R6),
		setWord(asm.R0, stateReady, readyGave),
		asm.JEq.Imm(asm.R1, unix.SYS_SCHED_YIELD, "next"),
		setWord(asm.R0, stateReady, readyTaken).WithSymbol("taken off"),
		asm.LoadMem(asm.R1, asm.R8, o.tid, asm.Word),
		asm.StoreMem(asm.R0, stateByTID, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R8, o.pid, asm.Word),
		asm.StoreMem(asm.R0, stateByPID, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Add.Imm(asm.R1, stateByName),
		asm.Mov.Imm(asm.R2, nameBytes),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Add.Imm(asm.R3, int32(o.name)),
		asm.FnProbeReadKernel.Call(),
	)
	next := lookup(asm.R8, o, threads)
	next[0] = next[0].WithSymbol("next")
	p = append(p, next...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreMem(asm.R0, stateOnSince, asm.R9, asm.DWord),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadMem(asm.R1, asm.R7, stateWoken, asm.DWord),
		asm.JEq.Imm(asm.R1, 0, "woken"),
		setWord(asm.R7, stateWoken, 0),
		// The latency's bucket, by a ladder of comparisons.
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, 6), // in wakeUnit
		asm.Mov.Imm(asm.R1, 0),
	)
	for _, bound := range wakeBounds {
		p = append(p, asm.JLT.Imm(asm.R2, bound, "bucket"), asm.Add.Imm(asm.R1, 8))
	}
	p = append(p,
		asm.Mov.Reg(asm.R3, asm.R7).WithSymbol("bucket"),
		asm.Add.Reg(asm.R3, asm.R1),
		asm.LoadMem(asm.R2, asm.R3, stateWakes, asm.DWord),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R3, stateWakes, asm.R2, asm.DWord),
		asm.LoadMem(asm.R1, asm.R7, stateReady, asm.DWord).WithSymbol("woken"),
		asm.JEq.Imm(asm.R1, 0, "out"),
		setWord(asm.R7, stateReady, 0),
		asm.JEq.Imm(asm.R1, readyTaken, "taken"),
		asm.LoadMem(asm.R1, asm.R7, stateOffSince, asm.DWord),
		asm.Sub.Reg(asm.R9, asm.R1),
		asm.LoadMem(asm.R1, asm.R7, stateGave, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R9),
		asm.StoreMem(asm.R7, stateGave, asm.R1, asm.DWord),
		asm.Ja.Label("out"),
		// A preemption has ended: tell.
		asm.LoadMem(asm.R1, asm.RFP, stackTID, asm.Word).WithSymbol("taken"),
		asm.StoreMem(asm.RFP, stackEvent+eventTID, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, stateByTID, asm.Word),
		asm.StoreMem(asm.RFP, stackEvent+eventByTID, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, stateByPID, asm.Word),
		asm.StoreMem(asm.RFP, stackEvent+eventByPID, asm.R1, asm.Word),
		asm.StoreImm(asm.RFP, stackEvent+eventByPID+4, 0, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, stateOffSince, asm.DWord),
		asm.StoreMem(asm.RFP, stackEvent+eventSince, asm.R1, asm.DWord),
		asm.Sub.Reg(asm.R9, asm.R1),
		asm.StoreMem(asm.RFP, stackEvent+eventNanos, asm.R9, asm.DWord),
		asm.LoadMem(asm.R1, asm.R7, stateByName, asm.DWord),
		asm.StoreMem(asm.RFP, stackName, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R7, stateByName+8, asm.DWord),
		asm.StoreMem(asm.RFP, stackName+8, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackEvent),
		asm.Mov.Imm(asm.R3, eventBytes),
		asm.Mov.Imm(asm.R4, 1), // BPF_RB_NO_WAKEUP: it is read in ticks
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
	return p
}

// onWakeup is sched_wakeup(task).
func onWakeup(o taskOffsets, threads *ebpf.Map) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 0, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R9, asm.R0),
	}
	p = append(p, lookup(asm.R7, o, threads)...)
	return append(p,
		asm.JEq.Imm(asm.R0, 0, "out"),
		// A thread that runs is woken when it has not gone yet: that costs nothing.
		asm.LoadMem(asm.R1, asm.R0, stateOnSince, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "out"),
		asm.StoreMem(asm.R0, stateWoken, asm.R9, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
}

// setWord stores a constant of eight bytes, for which asm.StoreImm has no
// instruction though the kernel does.
func setWord(dst asm.Register, off int16, v int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Dst: dst, Offset: off, Constant: v}
}

// lookup leaves in R0 the state of the thread whose task_struct is in task, 0
// if it is not watched, and its number on the stack.
func lookup(task asm.Register, o taskOffsets, threads *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, task, o.tid, asm.Word),
		asm.StoreMem(asm.RFP, stackTID, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, threads.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackTID),
		asm.FnMapLookupElem.Call(),
	}
}

// ErrPrivilege: the process may not watch the scheduler.
var ErrPrivilege = errors.New("interference: not permitted; run as root, or with CAP_BPF and CAP_PERFMON")
