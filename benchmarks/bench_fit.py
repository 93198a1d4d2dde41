from volsurface.bench.fit import main

raise SystemExit(main())
