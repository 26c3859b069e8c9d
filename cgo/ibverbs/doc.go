// Package ibverbs is a thin binding of libibverbs: one function per verbs call,
// errors as values, no policy, no logging. The one exception is Burst, which
// posts to any number of queue pairs and polls their completion queue in one
// crossing into C.
//
// It is built with the tag verbs, which the make targets set where pkg-config
// finds libibverbs. Without it only the words of this file are there, and
// Built is false.
//
// Sources: the manual pages of the calls that are named in the comments,
// section 3 of libibverbs-dev.
//
// Units: bytes. Memory that is registered or named in a Request must not be Go
// heap: the adapter reads and writes it when no pointer of Go's is in use.
//
// Any goroutine may call anything, as libibverbs allows; an object must not be
// used during or after its Close.
package ibverbs

// Access rights of a memory region (ibv_reg_mr). Local reads are always
// allowed; there is no relaxed ordering, on purpose.
const (
	AccessLocalWrite  = 1
	AccessRemoteWrite = 2
	AccessRemoteRead  = 4
)

// Operations of a Request.
const (
	OpWrite    = iota // RDMA WRITE
	OpWriteImm        // RDMA WRITE with immediate data: completes a receive at the peer
	OpRead            // RDMA READ
	OpReceive         // a receive without memory, for the peer's immediate data
)

// Flags of a Request.
const (
	FlagSignalled = 1 << iota // reports a completion also when it succeeds
	FlagSolicited             // the peer's completion raises an event
	FlagInline                // the bytes are copied at the post, no key is needed
)

// Request is one work request. Neighbours for the same queue pair are posted as
// one list, with one doorbell; receives and sends are different lists.
type Request struct {
	QP        uintptr // QP.Handle
	ID        uint64  // comes back in the Completion
	Local     uint64  // address
	Remote    uint64  // address
	Bytes     uint32
	LocalKey  uint32
	RemoteKey uint32
	Imm       uint32
	Op        uint32
	Flags     uint32
	// Err is set by Burst: the errno with which this request, or one before it
	// in the same list, was refused; 0: posted.
	Err uint32
	_   uint32
}

// Completion is one entry of a completion queue.
type Completion struct {
	ID       uint64
	Status   Status
	Received uint32 // 1: a receive; 0: a send, or unknown because of an error
	Imm      uint32
	Vendor   uint32 // the vendor's error code
}

// Status is enum ibv_wc_status.
type Status uint32

// The statuses that libibverbs 1.14 knows, in its order.
const (
	StatusSuccess Status = iota
	StatusLocalLength
	StatusLocalQPOperation
	StatusLocalEECOperation
	StatusLocalProtection
	StatusFlushed
	StatusMemoryWindowBind
	StatusBadResponse
	StatusLocalAccess
	StatusRemoteInvalidRequest
	StatusRemoteAccess
	StatusRemoteOperation
	StatusRetryExceeded
	StatusReceiverNotReadyExceeded
	StatusLocalRDDViolation
	StatusRemoteInvalidReadRequest
	StatusRemoteAborted
	StatusInvalidEECNumber
	StatusInvalidEECState
	StatusFatal
	StatusResponseTimeout
	StatusGeneral
	StatusTagMatching
	StatusTagMatchingRendezvous
	Statuses // how many there are
)

var statusText = [Statuses]string{
	"success", "local length error", "local queue pair operation error", "local EE context operation error",
	"local protection error", "flushed", "memory window bind error", "bad response", "local access error",
	"remote invalid request", "remote access error", "remote operation error", "transport retries exceeded",
	"receiver-not-ready retries exceeded", "local RDD violation", "remote invalid read request", "aborted by remote",
	"invalid EE context number", "invalid EE context state", "fatal error", "response timeout", "general error",
	"tag matching error", "tag matching rendezvous incomplete",
}

func (s Status) String() string {
	if s < Statuses {
		return statusText[s]
	}
	return "unknown status"
}

// MTU is the path MTU in bytes for enum ibv_mtu; 0 for a value it does not
// have.
func MTU(enum int) int {
	if enum < 1 || enum > 5 {
		return 0
	}
	return 128 << enum
}

// MTUEnum is the enum for 256, 512, 1024, 2048 or 4096 bytes, else 0.
func MTUEnum(bytes int) int {
	for e := 1; e <= 5; e++ {
		if MTU(e) == bytes {
			return e
		}
	}
	return 0
}
