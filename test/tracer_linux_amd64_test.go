package test

import "golang.org/x/sys/unix"

// setResult changes what a call has come to.
func setResult(tid int, result int64) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = uint64(result)
	return unix.PtraceSetRegs(tid, &regs)
}
