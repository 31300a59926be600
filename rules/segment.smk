rule train_segmenter:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        masks=lambda w: GRAPH.pseudo(w.method, w.variant, int(w.cycle)),
        previous=lambda w: GRAPH.previous_segmenter(w.method, w.variant, int(w.cycle)),
        classifier=lambda w: GRAPH.starting_classifier(w.method, w.variant, int(w.cycle)),
    output:
        network=f"{BASE}/{{method}}/segment/{{variant}}/cycle-{{cycle}}/segmenter.safetensors",
        record=f"{BASE}/{{method}}/segment/{{variant}}/cycle-{{cycle}}/metrics.json",
    log:
        log_of("train_segmenter", "{method}-{variant}-cycle-{cycle}"),
    benchmark:
        bench_of("train_segmenter", "{method}-{variant}-cycle-{cycle}")
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
        settings=settings("train_segmenter"),
        compute=compute_params(),
        code=code("segment.train_segmenter"),
    message:
        "training the segmenter {wildcards.variant} of {wildcards.method}, cycle {wildcards.cycle}"
    shell:
        "wsss train_segmenter --index {input.index:q} --masks {input.masks:q} --previous {input.previous:q} --classifier {input.classifier:q}"
        " --settings {params.settings:q} --compute {params.compute:q} --device {resources.device} --workers {resources.workers} --devices {resources.gpu} --output {output.network:q} --record {output.record:q} --log {log:q}"


rule predict_masks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        segmenter=f"{BASE}/{{method}}/segment/{{variant}}/cycle-{{cycle}}/segmenter.safetensors",
    output:
        f"{BASE}/{{method}}/segment/{{variant}}/cycle-{{cycle}}/predictions/{{shard}}.h5",
    log:
        log_of("predict_masks", "{method}-{variant}-cycle-{cycle}-{shard}"),
    benchmark:
        bench_of("predict_masks", "{method}-{variant}-cycle-{cycle}-{shard}")
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
        settings=settings("predict_masks"),
        compute=compute_params(),
        code=code("segment.predict_masks"),
    message:
        "masks predicted by {wildcards.variant} of {wildcards.method}, cycle {wildcards.cycle}, shard {wildcards.shard}"
    shell:
        "wsss predict_masks --index {input.index:q} --shard {input.shard:q} --segmenter {input.segmenter:q} --settings {params.settings:q} --compute {params.compute:q}"
        " --device {resources.device} --workers {resources.workers} --output {output:q} --log {log:q}"


rule export_masks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        masks=lambda w: GRAPH.final_masks(w.method, w.split),
    output:
        f"{BASE}/{{method}}/masks/{{split}}.csv",
    log:
        log_of("export_masks", "{method}-{split}"),
    benchmark:
        bench_of("export_masks", "{method}-{split}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("segment.export_masks"),
    message:
        "palette PNGs of {wildcards.method}, {wildcards.split}"
    shell:
        "wsss export_masks --index {input.index:q} --masks {input.masks:q} --output {output:q} --log {log:q}"
