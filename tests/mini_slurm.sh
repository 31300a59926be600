#!/usr/bin/env bash
# A SLURM of this one machine for tests, as root: partitions cpu and gpu, and GPUs that are twins of /dev/null. Everything lies in FOLDER; nothing outside it is touched.
#   tests/mini_slurm.sh start FOLDER [GPUS [CPUS]]
#   eval "$(tests/mini_slurm.sh env FOLDER)"       this shell's sbatch, squeue and snakemake talk to it
#   tests/mini_slurm.sh stop FOLDER
# Debian and Ubuntu: apt-get install slurmctld slurmd slurm-client munge
set -euo pipefail

usage() {
    sed -n 2,6p "$0" >&2
    exit 2
}
[[ $# -ge 2 ]] || usage
action=$1 folder=$(realpath -m "$2") gpus=${3:-2} cpus=${4:-8}
node=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

until_true() { # until_true SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "mini_slurm: waited in vain for: $* (logs in $folder)" >&2; return 1; }
        sleep 0.1
    done
}

node_is_idle() { [[ $(sinfo --noheader --format=%T) == idle* ]]; }

free_ports() { python3 -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in "ab"]; print(*(x.getsockname()[1] for x in s))'; }

write_configuration() {
    local controller_port node_port k
    read -r controller_port node_port < <(free_ports)
    # config_overrides: the node may have more CPUs and memory than the machine, so that GPUs are what jobs wait for. cons_tres: without it there is no --gpus.
    cat >"$SLURM_CONF" <<CONF
ClusterName=mini
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=2
MinJobAge=300
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=64000 Gres=gpu:$gpus
PartitionName=cpu Nodes=$node Default=YES MaxTime=2-0
PartitionName=gpu Nodes=$node MaxTime=2-0
CONF
    # SLURM counts device nodes alone, and numbers CUDA_VISIBLE_DEVICES by them.
    for ((k = 0; k < gpus; k++)); do [[ -c $folder/gpu$k ]] || mknod "$folder/gpu$k" c 1 3; done
    echo "NodeName=$node Name=gpu File=$folder/gpu[0-$((gpus - 1))]" >"$folder/gres.conf"
    printf '%s\n' CgroupPlugin=cgroup/v1 ConstrainCores=no ConstrainDevices=no ConstrainRAMSpace=no >"$folder/cgroup.conf"
    # Snakemake's job step drops SLURM_CONF before it calls srun, which would then look in /etc/slurm.
    mkdir -p "$folder/bin"
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
    chmod +x "$folder/bin/srun"
}

start() {
    [[ ! -e $SLURM_CONF ]] || { echo "mini_slurm: $folder holds a cluster; stop it, and delete the folder" >&2; exit 1; }
    mkdir -p "$folder"/{state,spool}
    write_configuration
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    munged --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    until_true 10 munge --no-input --socket="$folder/munge.socket"
    slurmctld -c
    until_true 20 scontrol ping
    slurmd -c
    until_true 20 node_is_idle
    sinfo --format="%P %N %T %c CPUs %m MB %G"
}

stop() {
    local name pid
    scancel --quiet --user=root 2>/dev/null || true
    for name in slurmd slurmctld munged; do
        [[ -s $folder/$name.pid ]] || continue
        pid=$(<"$folder/$name.pid")
        kill "$pid" 2>/dev/null || continue
        until_true 10 bash -c "! kill -0 $pid" || kill -9 "$pid"
    done
    rm -f "$SLURM_CONF"
}

case $action in
    start) start ;;
    stop) stop ;;
    env) printf 'export SLURM_CONF=%q PATH=%q:$PATH\n' "$SLURM_CONF" "$folder/bin" ;;
    *) usage ;;
esac
