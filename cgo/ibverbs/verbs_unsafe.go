//go:build verbs

package ibverbs

/*
#cgo pkg-config: libibverbs
#cgo noescape burst
#cgo nocallback burst
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <infiniband/verbs.h>

// ibv_reg_mr and ibv_query_port are macros.
static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access) {
	return ibv_reg_mr(pd, addr, length, access);
}

static int query_port(struct ibv_context *c, uint8_t port, struct ibv_port_attr *a) {
	memset(a, 0, sizeof *a);
	return ibv_query_port(c, port, a);
}

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_cq *cq, uint32_t sends, uint32_t receives, uint32_t *max_inline) {
	struct ibv_qp_init_attr a;
	memset(&a, 0, sizeof a);
	a.send_cq = cq;
	a.recv_cq = cq;
	a.qp_type = IBV_QPT_RC;
	a.cap.max_send_wr = sends;
	a.cap.max_recv_wr = receives;
	a.cap.max_send_sge = 1;
	a.cap.max_recv_sge = 1;
	a.cap.max_inline_data = *max_inline;
	struct ibv_qp *qp = ibv_create_qp(pd, &a);
	if (qp)
		*max_inline = a.cap.max_inline_data;
	return qp;
}

static int to_init(struct ibv_qp *qp, uint8_t port, unsigned access) {
	struct ibv_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = IBV_QPS_INIT;
	a.port_num = port;
	a.qp_access_flags = access;
	return ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int to_rtr(struct ibv_qp *qp, uint8_t port, int mtu, uint32_t dest, uint32_t psn, uint8_t reads,
		const void *gid, uint8_t gid_index, uint8_t traffic_class, uint16_t lid, int global) {
	struct ibv_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = IBV_QPS_RTR;
	a.path_mtu = mtu;
	a.dest_qp_num = dest;
	a.rq_psn = psn;
	a.max_dest_rd_atomic = reads;
	a.min_rnr_timer = 12;
	a.ah_attr.port_num = port;
	a.ah_attr.dlid = lid;
	if (global) {
		a.ah_attr.is_global = 1;
		memcpy(&a.ah_attr.grh.dgid, gid, 16);
		a.ah_attr.grh.sgid_index = gid_index;
		a.ah_attr.grh.hop_limit = 64;
		a.ah_attr.grh.traffic_class = traffic_class;
	}
	return ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
		IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int to_rts(struct ibv_qp *qp, uint32_t psn, uint8_t reads, uint8_t timeout, uint8_t retries) {
	struct ibv_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = IBV_QPS_RTS;
	a.sq_psn = psn;
	a.timeout = timeout;
	a.retry_cnt = retries;
	a.rnr_retry = retries;
	a.max_rd_atomic = reads;
	return ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
		IBV_QP_MAX_QP_RD_ATOMIC);
}

static int to_err(struct ibv_qp *qp) {
	struct ibv_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = IBV_QPS_ERR;
	return ibv_modify_qp(qp, &a, IBV_QP_STATE);
}

// The mirrors of Request and Completion; Go checks the sizes.
struct request {
	uintptr_t qp;
	uint64_t id, local, remote;
	uint32_t bytes, local_key, remote_key, imm, op, flags, err, pad;
};

struct completion {
	uint64_t id;
	uint32_t status, received, imm, vendor;
};

enum { LIST = 16 };

static int post_sends(struct ibv_qp *qp, struct request *r, int n) {
	struct ibv_send_wr wr[LIST], *bad = 0;
	struct ibv_sge sge[LIST];
	static const enum ibv_wr_opcode op[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ};
	for (int i = 0; i < n; i++) {
		sge[i].addr = r[i].local;
		sge[i].length = r[i].bytes;
		sge[i].lkey = r[i].local_key;
		memset(&wr[i], 0, sizeof wr[i]);
		wr[i].wr_id = r[i].id;
		wr[i].next = i + 1 < n ? &wr[i + 1] : 0;
		wr[i].sg_list = &sge[i];
		wr[i].num_sge = r[i].bytes > 0;
		wr[i].opcode = op[r[i].op];
		wr[i].send_flags = (r[i].flags & 1 ? IBV_SEND_SIGNALED : 0) | (r[i].flags & 2 ? IBV_SEND_SOLICITED : 0) |
			(r[i].flags & 4 ? IBV_SEND_INLINE : 0);
		wr[i].imm_data = r[i].imm;
		wr[i].wr.rdma.remote_addr = r[i].remote;
		wr[i].wr.rdma.rkey = r[i].remote_key;
	}
	int e = ibv_post_send(qp, wr, &bad);
	if (e) // no provider says so, but then none is known to be taken
		for (int i = bad ? bad - wr : 0; i < n; i++)
			r[i].err = e;
	return e;
}

static int post_receives(struct ibv_qp *qp, struct request *r, int n) {
	struct ibv_recv_wr wr[LIST], *bad = 0;
	for (int i = 0; i < n; i++) {
		memset(&wr[i], 0, sizeof wr[i]);
		wr[i].wr_id = r[i].id;
		wr[i].next = i + 1 < n ? &wr[i + 1] : 0;
	}
	int e = ibv_post_recv(qp, wr, &bad);
	if (e)
		for (int i = bad ? bad - wr : 0; i < n; i++)
			r[i].err = e;
	return e;
}

// burst returns the number of completions, or below 0 if the queue failed.
static int burst(struct ibv_cq *cq, struct request *r, int n, int *lists, struct completion *done, int max) {
	*lists = 0;
	for (int i = 0; i < n;) {
		int k = 1, receive = r[i].op == 3;
		r[i].err = 0;
		while (i + k < n && k < LIST && r[i + k].qp == r[i].qp && (r[i + k].op == 3) == receive)
			r[i + k++].err = 0;
		if (receive)
			post_receives((struct ibv_qp *)r[i].qp, r + i, k);
		else
			post_sends((struct ibv_qp *)r[i].qp, r + i, k);
		++*lists;
		i += k;
	}
	struct ibv_wc wc[LIST];
	int total = 0;
	while (total < max) {
		int want = max - total < LIST ? max - total : LIST;
		int got = ibv_poll_cq(cq, want, wc);
		if (got < 0)
			return -1;
		for (int i = 0; i < got; i++, total++) {
			done[total].id = wc[i].wr_id;
			done[total].status = wc[i].status;
			done[total].received = wc[i].status == IBV_WC_SUCCESS && (wc[i].opcode & IBV_WC_RECV) != 0;
			done[total].imm = wc[i].imm_data;
			done[total].vendor = wc[i].vendor_err;
		}
		if (got < want)
			break;
	}
	return total;
}

// take_events takes all events that are there; the descriptor does not block.
static int take_events(struct ibv_comp_channel *ch) {
	struct ibv_cq *cq;
	void *context;
	int n = 0;
	while (ibv_get_cq_event(ch, &cq, &context) == 0) {
		ibv_ack_cq_events(cq, 1);
		n++;
	}
	return n;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"syscall"
	"unsafe"
)

// The structs of both languages are the same.
const (
	_ = uint(unsafe.Sizeof(Request{}) - C.sizeof_struct_request)
	_ = uint(C.sizeof_struct_request - unsafe.Sizeof(Request{}))
	_ = uint(unsafe.Sizeof(Completion{}) - C.sizeof_struct_completion)
	_ = uint(C.sizeof_struct_completion - unsafe.Sizeof(Completion{}))
)

// Context is an open device (ibv_open_device).
type Context struct{ c *C.struct_ibv_context }

// Names lists the devices (ibv_get_device_list). ENOSYS if the kernel has no
// RDMA subsystem.
func Names() ([]string, error) {
	var n C.int
	list, err := C.ibv_get_device_list(&n)
	if list == nil {
		return nil, fmt.Errorf("ibv_get_device_list: %w", err)
	}
	defer C.ibv_free_device_list(list)
	var names []string
	for _, d := range unsafe.Slice(list, int(n)) {
		names = append(names, C.GoString(C.ibv_get_device_name(d)))
	}
	return names, nil
}

// Open opens a device by name: fs.ErrNotExist if there is none, fs.ErrPermission
// if its file under /dev/infiniband may not be opened.
func Open(name string) (*Context, error) {
	var n C.int
	list, err := C.ibv_get_device_list(&n)
	if list == nil {
		return nil, fmt.Errorf("ibv_get_device_list: %w", err)
	}
	defer C.ibv_free_device_list(list)
	for _, d := range unsafe.Slice(list, int(n)) {
		if C.GoString(C.ibv_get_device_name(d)) != name {
			continue
		}
		c, err := C.ibv_open_device(d)
		if c == nil {
			return nil, fmt.Errorf("ibv_open_device %s: %w", name, errOr(err, syscall.EIO))
		}
		return &Context{c}, nil
	}
	return nil, fmt.Errorf("ibv_open_device %s: %w", name, fs.ErrNotExist)
}

func errOr(err error, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

// errno is the result of a call that returns 0 or an errno.
func errno(call string, r C.int) error {
	if r == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", call, syscall.Errno(r))
}

// Close gives the device back (ibv_close_device); everything made from it must
// be closed before.
func (c *Context) Close() error {
	if r, err := C.ibv_close_device(c.c); r != 0 {
		return fmt.Errorf("ibv_close_device: %w", errOr(err, syscall.EBUSY))
	}
	return nil
}

// Device is what ibv_query_device tells, as far as it is used.
type Device struct {
	Ports, CompletionsMax, WorkRequestsMax int
	ReadsMax                               int // outstanding RDMA READs of a queue pair, as their target
	ReadsOutMax                            int // as their initiator
}

func (c *Context) Device() (Device, error) {
	var a C.struct_ibv_device_attr
	if err := errno("ibv_query_device", C.ibv_query_device(c.c, &a)); err != nil {
		return Device{}, err
	}
	return Device{int(a.phys_port_cnt), int(a.max_cqe), int(a.max_qp_wr), int(a.max_qp_rd_atom), int(a.max_qp_init_rd_atom)}, nil
}

// Port is what ibv_query_port tells, as far as it is used.
type Port struct {
	Active   bool
	State    int // enum ibv_port_state
	MTU      int // active, bytes
	LID      uint16
	GIDs     int
	Ethernet bool
}

func (c *Context) Port(port int) (Port, error) {
	var a C.struct_ibv_port_attr
	if err := errno("ibv_query_port", C.query_port(c.c, C.uint8_t(port), &a)); err != nil {
		return Port{}, err
	}
	return Port{a.state == C.IBV_PORT_ACTIVE, int(a.state), MTU(int(a.active_mtu)), uint16(a.lid), int(a.gid_tbl_len),
		a.link_layer == C.IBV_LINK_LAYER_ETHERNET}, nil
}

// GID is ibv_query_gid; all zero where the table has a gap.
func (c *Context) GID(port, index int) (gid [16]byte, err error) {
	var g C.union_ibv_gid
	if r, err := C.ibv_query_gid(c.c, C.uint8_t(port), C.int(index), &g); r != 0 {
		return gid, fmt.Errorf("ibv_query_gid %d: %w", index, errOr(err, syscall.ENOENT))
	}
	return *(*[16]byte)(unsafe.Pointer(&g)), nil
}

// PD is a protection domain (ibv_alloc_pd).
type PD struct{ pd *C.struct_ibv_pd }

func (c *Context) AllocPD() (*PD, error) {
	pd, err := C.ibv_alloc_pd(c.c)
	if pd == nil {
		return nil, fmt.Errorf("ibv_alloc_pd: %w", errOr(err, syscall.ENOMEM))
	}
	return &PD{pd}, nil
}

func (p *PD) Close() error { return errno("ibv_dealloc_pd", C.ibv_dealloc_pd(p.pd)) }

// MR is a memory region (ibv_reg_mr).
type MR struct {
	mr   *C.struct_ibv_mr
	LKey uint32
	RKey uint32
}

// RegMR registers mapped memory, not Go heap. ENOMEM mostly means that
// RLIMIT_MEMLOCK is too small, EOPNOTSUPP and EINVAL that memory of this kind
// cannot be registered.
func (p *PD) RegMR(mem []byte, access int) (*MR, error) {
	mr, err := C.reg_mr(p.pd, unsafe.Pointer(unsafe.SliceData(mem)), C.size_t(len(mem)), C.int(access))
	if mr == nil {
		return nil, fmt.Errorf("ibv_reg_mr of %d bytes: %w", len(mem), errOr(err, syscall.ENOMEM))
	}
	return &MR{mr, uint32(mr.lkey), uint32(mr.rkey)}, nil
}

func (m *MR) Close() error { return errno("ibv_dereg_mr", C.ibv_dereg_mr(m.mr)) }

// Channel is a completion channel whose descriptor does not block.
type Channel struct{ ch *C.struct_ibv_comp_channel }

func (c *Context) CreateChannel() (*Channel, error) {
	ch, err := C.ibv_create_comp_channel(c.c)
	if ch == nil {
		return nil, fmt.Errorf("ibv_create_comp_channel: %w", errOr(err, syscall.ENOMEM))
	}
	if err := syscall.SetNonblock(int(ch.fd), true); err != nil {
		C.ibv_destroy_comp_channel(ch)
		return nil, fmt.Errorf("ibv_create_comp_channel: %w", err)
	}
	return &Channel{ch}, nil
}

// FD becomes readable with an event.
func (c *Channel) FD() int { return int(c.ch.fd) }

// Take takes and acknowledges all events that are there.
func (c *Channel) Take() int { return int(C.take_events(c.ch)) }

func (c *Channel) Close() error {
	return errno("ibv_destroy_comp_channel", C.ibv_destroy_comp_channel(c.ch))
}

// CQ is a completion queue.
type CQ struct{ cq *C.struct_ibv_cq }

// CreateCQ makes one; ch may be nil.
func (c *Context) CreateCQ(entries int, ch *Channel) (*CQ, error) {
	var channel *C.struct_ibv_comp_channel
	if ch != nil {
		channel = ch.ch
	}
	cq, err := C.ibv_create_cq(c.c, C.int(entries), nil, channel, 0)
	if cq == nil {
		return nil, fmt.Errorf("ibv_create_cq of %d: %w", entries, errOr(err, syscall.ENOMEM))
	}
	return &CQ{cq}, nil
}

// Notify asks for one event on the channel with the next completion
// (ibv_req_notify_cq).
func (q *CQ) Notify() error { return errno("ibv_req_notify_cq", C.ibv_req_notify_cq(q.cq, 0)) }

// Close waits until all events that were taken are acknowledged.
func (q *CQ) Close() error { return errno("ibv_destroy_cq", C.ibv_destroy_cq(q.cq)) }

// QP is a queue pair of a reliable connection.
type QP struct {
	qp     *C.struct_ibv_qp
	Num    uint32
	Inline int // bytes it can send inline; 0: it cannot
}

// CreateQP makes a queue pair in the state RESET. A device that does not have
// inlineMin bytes inline gives a queue pair without.
func (p *PD) CreateQP(cq *CQ, sends, receives, inlineMin int) (*QP, error) {
	inline := C.uint32_t(inlineMin)
	qp, err := C.create_qp(p.pd, cq.cq, C.uint32_t(sends), C.uint32_t(receives), &inline)
	if qp == nil && inlineMin > 0 && errors.Is(err, syscall.EINVAL) {
		inline = 0
		qp, err = C.create_qp(p.pd, cq.cq, C.uint32_t(sends), C.uint32_t(receives), &inline)
	}
	if qp == nil {
		return nil, fmt.Errorf("ibv_create_qp for %d sends, %d receives: %w", sends, receives, errOr(err, syscall.ENOMEM))
	}
	return &QP{qp, uint32(qp.qp_num), int(inline)}, nil
}

// Handle is what a Request names the queue pair by.
func (q *QP) Handle() uintptr { return uintptr(unsafe.Pointer(q.qp)) }

func (q *QP) Init(port, access int) error {
	return errno("ibv_modify_qp to INIT", C.to_init(q.qp, C.uint8_t(port), C.uint(access)))
}

// Path is the way to the peer's queue pair.
type Path struct {
	Port         int
	MTU          int // bytes
	QPN          uint32
	PSN          uint32 // the peer sends from here
	Reads        int    // outstanding RDMA READs
	GID          [16]byte
	GIDIndex     int
	TrafficClass int
	LID          uint16
	Global       bool // by GID; Ethernet always
}

// RTR makes the queue pair ready to receive.
func (q *QP) RTR(p *Path) error {
	global := C.int(0)
	if p.Global {
		global = 1
	}
	return errno("ibv_modify_qp to RTR", C.to_rtr(q.qp, C.uint8_t(p.Port), C.int(MTUEnum(p.MTU)), C.uint32_t(p.QPN), C.uint32_t(p.PSN),
		C.uint8_t(p.Reads), unsafe.Pointer(&p.GID[0]), C.uint8_t(p.GIDIndex), C.uint8_t(p.TrafficClass), C.uint16_t(p.LID), global))
}

// RTS makes the queue pair ready to send. The local acknowledgement timeout is
// 4.096 µs << timeout.
func (q *QP) RTS(psn uint32, reads, timeout, retries int) error {
	return errno("ibv_modify_qp to RTS", C.to_rts(q.qp, C.uint32_t(psn), C.uint8_t(reads), C.uint8_t(timeout), C.uint8_t(retries)))
}

// Err puts the queue pair into the error state: nothing is sent or accepted any
// more, all that was posted completes as flushed.
func (q *QP) Err() error { return errno("ibv_modify_qp to ERR", C.to_err(q.qp)) }

func (q *QP) Close() error { return errno("ibv_destroy_qp", C.ibv_destroy_qp(q.qp)) }

var errPoll = errors.New("ibv_poll_cq failed")

// Burst posts the requests and polls the queue once, in one crossing. lists is
// the number of posts (doorbells); n completions are in done. What a device
// refuses is marked in its Request.
func Burst(q *CQ, requests []Request, done []Completion) (lists, n int, err error) {
	var posted C.int
	got := C.burst(q.cq, (*C.struct_request)(unsafe.Pointer(unsafe.SliceData(requests))), C.int(len(requests)), &posted,
		(*C.struct_completion)(unsafe.Pointer(unsafe.SliceData(done))), C.int(len(done)))
	runtime.KeepAlive(requests)
	if got < 0 {
		return int(posted), 0, errPoll
	}
	return int(posted), int(got), nil
}

// Address is where mapped memory lies, as a Request wants it.
func Address(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }
