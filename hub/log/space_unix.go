//go:build linux || darwin || freebsd || dragonfly

package log

import "golang.org/x/sys/unix"

func statDisk(dir string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk{}, err
	}
	block := uint64(st.Bsize)
	// Bavail is signed on some systems, and negative when only the superuser
	// may still write.
	return disk{size: uint64(st.Blocks) * block, free: uint64(max(0, int64(st.Bavail))) * block}, nil
}
