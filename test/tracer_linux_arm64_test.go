package test

import "golang.org/x/sys/unix"

// setResult changes what a call has come to.
func setResult(tid int, result int64) error {
	const general = 1 // NT_PRSTATUS
	var regs unix.PtraceRegsArm64
	if err := unix.PtraceGetRegSetArm64(tid, general, &regs); err != nil {
		return err
	}
	regs.Regs[0] = uint64(result)
	return unix.PtraceSetRegSetArm64(tid, general, &regs)
}
