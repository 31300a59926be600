rule train_classifier:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        regions=lambda w: GRAPH.earlier_regions(w.method, int(w.round)),
        saliency=lambda w: GRAPH.saliency(w.method) if "saliency" in GRAPH.facts(w.method).needs else [],
        previous=lambda w: GRAPH.previous_classifier(w.method, int(w.round)),
    output:
        network=product("train_classifier"),
        record=f"{BASE}/{{method}}/seeds/round-{{round}}/training.json",
    log:
        log_of("train_classifier", "{method}-round-{round}"),
    benchmark:
        bench_of("train_classifier", "{method}-round-{round}")
    conda:
        "../envs/wsss.yaml"
    threads: COMPUTE.threads + COMPUTE.workers
    resources:
        gpu=1,
        mem_mb=growing(6000),
        runtime=1440,
        device=COMPUTE.device,
        workers=COMPUTE.workers,
    params:
        settings=settings("train_classifier"),
        compute=compute("train_classifier"),
        code=code("train_classifier"),
    message:
        "training the classifier of {wildcards.method}, round {wildcards.round}"
    shell:
        "wsss train_classifier --index {input.index:q} --regions {input.regions:q} --saliency {input.saliency:q}"
        " --previous {input.previous:q} --settings {params.settings:q} --compute {params.compute:q}"
        " --device {resources.device} --workers {resources.workers} --devices {resources.gpu}"
        " --output {output.network:q} --record {output.record:q} --log {log:q}"


rule extract_scores:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        classifier=lambda w: GRAPH.classifier(w.method, int(w.round)),
        regions=lambda w: GRAPH.earlier_regions(w.method, int(w.round)),
    output:
        product("extract_scores"),
    log:
        log_of("extract_scores", "{method}-round-{round}-{shard}"),
    benchmark:
        bench_of("extract_scores", "{method}-round-{round}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: COMPUTE.threads + COMPUTE.workers
    resources:
        gpu=1,
        mem_mb=growing(4000),
        runtime=growing(240),
        device=COMPUTE.device,
        workers=COMPUTE.workers,
    params:
        settings=settings("extract_scores"),
        compute=compute("extract_scores"),
        code=code("extract_scores"),
    message:
        "class activation maps of {wildcards.method}, round {wildcards.round}, shard {wildcards.shard}"
    shell:
        "wsss extract_scores --index {input.index:q} --shard {input.shard:q} --classifier {input.classifier:q}"
        " --regions {input.regions:q} --settings {params.settings:q} --compute {params.compute:q}"
        " --device {resources.device} --workers {resources.workers} --output {output:q} --log {log:q}"


rule claim_regions:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        scores=lambda w: of_shard(GRAPH.scores(w.method, int(w.round)), w),
    output:
        product("claim_regions"),
    log:
        log_of("claim_regions", "{method}-round-{round}-{shard}"),
    benchmark:
        bench_of("claim_regions", "{method}-round-{round}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=settings("claim_regions"),
        code=code("claim_regions"),
    message:
        "regions that {wildcards.method} claims in round {wildcards.round}, shard {wildcards.shard}"
    shell:
        "wsss claim_regions --index {input.index:q} --shard {input.shard:q} --scores {input.scores:q}"
        " --settings {params.settings:q} --output {output:q} --log {log:q}"


# A checkpoint: with automatic rounds these figures decide whether there is another round (rounds_so_far in common.smk).
checkpoint measure_round:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        record=lambda w: GRAPH.training_record(w.method, int(w.round)),
        regions=lambda w: GRAPH.regions(w.method, int(w.round)),
        earlier=lambda w: GRAPH.earlier_regions(w.method, int(w.round)),
    output:
        product("measure_round"),
    log:
        log_of("measure_round", "{method}-round-{round}"),
    benchmark:
        bench_of("measure_round", "{method}-round-{round}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("measure_round"),
    message:
        "figures of {wildcards.method}, round {wildcards.round}"
    shell:
        "wsss measure_round --index {input.index:q} --record {input.record:q} --regions {input.regions:q}"
        " --earlier {input.earlier:q} --output {output:q} --log {log:q}"


rule fuse_regions:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        scores=lambda w: shard_of(GRAPH.scores, w),
        regions=lambda w: shard_of(GRAPH.regions, w),
        metrics=lambda w: round_metrics(w.method) if GRAPH.is_auto(w.method) else [],
    output:
        product("fuse_regions"),
    log:
        log_of("fuse_regions", "{method}-{shard}"),
    benchmark:
        bench_of("fuse_regions", "{method}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=settings("fuse_regions"),
        code=code("fuse_regions"),
    message:
        "fusing the rounds of {wildcards.method}, shard {wildcards.shard}"
    shell:
        "wsss fuse_regions --index {input.index:q} --shard {input.shard:q} --scores {input.scores:q}"
        " --regions {input.regions:q} --settings {params.settings:q} --output {output:q} --log {log:q}"
