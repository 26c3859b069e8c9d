package verbs

import "healkv/cgo/ibverbs"

// consequence is what a completion status means for the lane it came from.
type consequence uint8

const (
	done     consequence = iota // the requests through this one are complete
	already                     // the lane is in ERR already; the cause came before
	reopen                      // the lane is broken: opened anew while its link is attached
	reopenIn                    // the same, and the fault is this node's: after localFaultsMax in a row at the longest pause
)

// localFaultsMax faults of this node in a row are a bug, not an accident: it is
// said, and the lane is opened anew at the longest pause only.
const localFaultsMax = 3

// consequences has one row per status; transport.md asks for it. Whatever it
// is, an RC queue pair that reported an error is in ERR and moves nothing.
//
//	status                          who is to blame                    consequence
//	success                         nobody                             send queue entries are free
//	flushed                         what broke the lane before         none
//	retries exceeded, RNR, timeout  network, or the peer is gone       lane opened anew; ErrNoPeer ends that
//	remote access, request, ...     the peer took its memory back      lane opened anew, with the peer's new keys
//	local length, protection, ...   this node                          lane opened anew, after three in a row at the longest pause
//	everything else                 device                             lane opened anew
var consequences = [ibverbs.Statuses]consequence{
	ibverbs.StatusSuccess:                  done,
	ibverbs.StatusLocalLength:              reopenIn,
	ibverbs.StatusLocalQPOperation:         reopenIn,
	ibverbs.StatusLocalEECOperation:        reopenIn,
	ibverbs.StatusLocalProtection:          reopenIn,
	ibverbs.StatusFlushed:                  already,
	ibverbs.StatusMemoryWindowBind:         reopenIn,
	ibverbs.StatusBadResponse:              reopen,
	ibverbs.StatusLocalAccess:              reopenIn,
	ibverbs.StatusRemoteInvalidRequest:     reopen,
	ibverbs.StatusRemoteAccess:             reopen,
	ibverbs.StatusRemoteOperation:          reopen,
	ibverbs.StatusRetryExceeded:            reopen,
	ibverbs.StatusReceiverNotReadyExceeded: reopen,
	ibverbs.StatusLocalRDDViolation:        reopenIn,
	ibverbs.StatusRemoteInvalidReadRequest: reopen,
	ibverbs.StatusRemoteAborted:            reopen,
	ibverbs.StatusInvalidEECNumber:         reopen,
	ibverbs.StatusInvalidEECState:          reopen,
	ibverbs.StatusFatal:                    reopen,
	ibverbs.StatusResponseTimeout:          reopen,
	ibverbs.StatusGeneral:                  reopen,
	ibverbs.StatusTagMatching:              reopen,
	ibverbs.StatusTagMatchingRendezvous:    reopen,
}

// consequenceOf is for whatever number a device reports.
func consequenceOf(s ibverbs.Status) consequence {
	if s < ibverbs.Statuses {
		return consequences[s]
	}
	return reopen
}
