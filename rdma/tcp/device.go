package tcp

// Device names where data connections come to, for status.
func (e *Endpoint) Device() string {
	if e.cfg.TLS != nil {
		return e.gate.address + ", TLS 1.3"
	}
	return e.gate.address
}
