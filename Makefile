# The targets are the steps of .ci/run, which is what CI runs.
.PHONY: all fmt tidy vet lint vuln test demo bench
all:
	.ci/run
fmt tidy vet lint vuln demo bench:
	.ci/run $@
test:
	.ci/run tests
