"""Two processes (gloo) train one model, and its parameters stay the same on both."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from conftest import make_config
from semanticodec.training.data import AudioCache
from semanticodec.training.loop import Trainer
from semanticodec.training.stages import make_task
torch.set_num_threads(1)
run, cache = Path(sys.argv[3]), AudioCache(Path(sys.argv[2]))
torch.manual_seed(0)
config = make_config("codec", name="pair")
trainer = Trainer(make_task(config, run), config, cache, run / "pair")
trainer.run(max_steps=3)
net = trainer.task.net
sums = [float(p.detach().double().abs().sum()) for p in net.unet.parameters()]
sums.append(float(net.acoustic.codebook.double().abs().sum()))
rank = trainer.accelerator.process_index
(run / f"rank{rank}.json").write_text(json.dumps([trainer.accelerator.num_processes, sums]))
"""


def test_two_processes_keep_one_model(cache, front):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, here = Path(cache.samples.filename).parent, str(Path(__file__).parent)
    processes = []
    for rank in (0, 1):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, here, str(folder), str(front)]
        processes.append(subprocess.Popen(command, env=environment))
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    first, second = (json.loads((front / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first[0] == 2
    assert first == second
