#!/bin/sh
# Makes the namespace of runs, which Temporal keeps for three days after their end.
set -eu
temporal operator namespace describe --namespace default >/dev/null 2>&1 ||
    temporal operator namespace create --namespace default --retention 3d
