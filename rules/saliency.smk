rule estimate_saliency:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
    output:
        f"{BASE}/saliency/{{cue}}/{{shard}}.h5",
    log:
        log_of("estimate_saliency", "{cue}-{shard}"),
    benchmark:
        bench_of("estimate_saliency", "{cue}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 2
    resources:
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        settings=relevant_settings("estimate_saliency"),
        code=lambda w: code("saliency.estimate_saliency", relevant(GRAPH.stage("estimate_saliency", cue=w.cue))),
        listing=lambda w: given_listing(GRAPH.stage("estimate_saliency", cue=w.cue)),
    message:
        "saliency ({wildcards.cue}) of shard {wildcards.shard}"
    shell:
        "wsss estimate_saliency --index {input.index:q} --shard {input.shard:q} --settings {params.settings:q} --workers {threads} --output {output:q} --log {log:q}"
